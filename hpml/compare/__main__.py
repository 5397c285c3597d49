"""`python -m hpml.compare [options] BEFORE AFTER`: did this change make training slower?"""

from hpml.compare.command import main

if __name__ == "__main__":
    main()
