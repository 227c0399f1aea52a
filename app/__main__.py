"""`python -m app` is `soprano-api`."""

from app.entrypoints.cli.start import main

if __name__ == "__main__":
    main()
