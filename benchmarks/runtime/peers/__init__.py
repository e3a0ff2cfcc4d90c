"""One module per contender.

``PRECISIONS`` lists what it can run; ``model_file(folder, precision)`` is the file that it reads.
``load(folder, precision, x, threads)`` returns a function of no argument that runs the network on
the batch ``x``, and ``predict(images)`` for quality; None when the folder lacks what it needs.
"""
