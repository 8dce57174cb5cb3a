"""A permissioned blockchain node for the Guangdong-Hong Kong-Macao Dawan District Blockchain Alliance."""

__version__ = "0.1.0"
