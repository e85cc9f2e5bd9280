"""``python -m aubench``, where the script is not on the path."""

from aubench.cli.main import main

if __name__ == "__main__":
    main()
