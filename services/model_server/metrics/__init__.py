"""What is counted, where all processes of a port can read it, and the page that Prometheus scrapes."""
