# SPDX-License-Identifier: Apache-2.0
"""Medians and quartiles as a table for people."""
import statistics
import sys


def verdict(text, held):
    """A target and whether it is met."""
    return f"{text}: {'ok' if held else 'MISS'}"


def number(v):
    """Four digits at most where that is enough."""
    return f"{v:.0f}" if v >= 1000 else f"{v:.4g}"


def cell(values, floor):
    """Median, quartiles, ratio to the floor's median."""
    if not values:
        return "-"
    low, middle, high = statistics.quantiles(values * 2, n=4,
                                             method="inclusive")
    text = f"{number(middle)} [{number(low)} {number(high)}]"
    return f"{text} {middle / floor:.2f}x" if floor else text


def print_table(head, rows):
    """Columns as wide as they need."""
    width = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(c.ljust(w) for c, w in zip(row, width)).rstrip())


def progress(number_of, rounds):
    """On a terminal only."""
    if sys.stderr.isatty():
        print(f"\rround {number_of} of {rounds}", end="", file=sys.stderr,
              flush=True)
