"""What the server has of its machine: cores, memory, sockets, processes."""
