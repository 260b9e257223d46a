"""Importing this package registers the handlers of all five workflows."""

from . import diamond, linear, mixed_dag, order_fulfillment, tree

__all__ = ["diamond", "linear", "mixed_dag", "order_fulfillment", "tree"]
