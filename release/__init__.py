"""What a release is made with: archives that are equal each time, what is bundled, its licences, the SBOM.

Not installed with mxallowd; scripts/wheels and scripts/release use it. Only sbom.py needs more than the standard
library, so that packages can be built with the rest in a bare system.
"""
