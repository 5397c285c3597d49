"""stub"""

from hpml.report.sweep_table import print_table


def make_report(paths, output):
    print_table(paths)
