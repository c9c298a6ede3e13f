"""`python -m lanmesh` is the command `lanmesh`"""

from lanmesh.cli.app import main

if __name__ == "__main__":
    main()
