"""The checks of ``dawan-node doctor``: one file per group, each from what is there to findings; nothing is changed."""
