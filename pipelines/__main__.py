"""`python -m pipelines`."""

if __name__ == "__main__":  # worker processes import this module, too, and have no command line
    from pipelines.cli import main

    main()
