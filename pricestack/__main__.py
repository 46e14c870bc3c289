"""`python -m pricestack`: the same as the console command `pricestack`."""

from pricestack.cli import main

if __name__ == "__main__":
    main()
