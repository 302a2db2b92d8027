"""The only code that reads the process.

``sampler.Sampler`` is what the rest uses: it takes samples and meters peaks. A
reading that fails gives None, "not known": what the tests do to descriptors,
``os`` or ``/proc`` must never reach them as an error of ours.
"""
