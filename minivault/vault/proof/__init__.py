"""What lets somebody else check the vault: its signing key, signed heads, and excerpts that prove themselves.

It reads the log through the rooms beside it and adds nothing to a record. Only `key` is known below it, to the log,
whose genesis names the public half; everything else may be taken away and the log is as whole as before.
"""
