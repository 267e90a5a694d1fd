"""What a browser gets: pages and the scripts and styles they need, all from this server."""
