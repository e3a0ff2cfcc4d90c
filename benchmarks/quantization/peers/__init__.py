"""One module per quantizer that others maintain.

``quantize(folder, x, target, threads)`` reads the float network of ``folder`` (``fp32.onnx``,
``module.pt``, ``fp32.tflite``: see ``benchmarks/runtime/networks.py``), calibrates it on the images
``x`` and leaves its files in the folder ``target``. It returns the seconds from the loaded network
to the quantized one, the size of the files in bytes, and a function from a batch to logits; None
where the folder lacks what it needs.
"""
