"""What a command shows: answers and results on stdout, everything beside them on stderr."""
