"""Measure the collectives, alone or beside other libraries: what `jobkit bench` does.

The ranks of every contender live at the same time, each asleep in a read while another one is measured. One
driver (`crew`) tells them what to run; what runs in them (`peers`) needs NumPy and its library only, since it
may be another Python that has it.
"""
