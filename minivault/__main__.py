"""`python -m minivault`: the same commands as `minivault`."""

from minivault.cli import main

if __name__ == "__main__":
    main()
