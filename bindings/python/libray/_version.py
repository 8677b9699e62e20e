__version__ = "0.1.0"
C_API = 100  # RAY_VERSION of include/ray/version.h that this package is written for: major and minor must be equal
RAY = "2.60.0"  # whose names, defaults and meanings it follows
