from .errors import error_page

__all__ = ["error_page"]
