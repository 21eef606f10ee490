"""Supervised heads of the papers: trained on labelled faces, scored as the linear probes are.

`linear-probe head -c configs/head/NAME.yaml --out DIR` trains one and adds its figures to DIR's
records. A head is one file here (a `Head`) and one config.
"""
