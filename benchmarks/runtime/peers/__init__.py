"""One module per contender.

``PRECISIONS`` lists what it can run. ``load(folder, precision, x, threads)`` returns a function of
no argument that runs the network on the batch ``x``, and ``predict(images)`` for quality; None when
the folder lacks what it needs.
"""
