"""`python -m crpnet_bench` is `crpnet-bench`."""

from crpnet_bench.cli import main

main()
