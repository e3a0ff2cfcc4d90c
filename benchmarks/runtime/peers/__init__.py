"""One module per contender.

``PRECISIONS`` lists what it can run; ``load(folder, precision, x, threads)`` returns a function of no
argument that runs the network on a batch like ``x`` and one, ``predict(x)``, for quality. ``None`` when
the folder lacks what it needs.
"""
