"""Campaigns: long runs that try to break a promise, one subcommand each.

A campaign is a module here with the name of its subcommand, and what it is made of is in a package
beside it; that of the power cuts is in its package itself. It has `add_arguments`, which says what it
can be asked, and `run`, which returns the exit code: 0 where every promise held, 1 where one was broken.
"""
