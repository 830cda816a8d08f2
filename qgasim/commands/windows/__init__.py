"""The commands that Windows agents answer in their own way (qga/commands-win32.c).

Facts are from the sources of 5.1 and 7.2, and of later patches where a release is named. Each function
stands beside the one of the same wire name for POSIX; which is taken, the registry decides.
"""

from qgasim.commands.windows import accounts, files, hardware, processes, storage, system

__all__ = ["accounts", "files", "hardware", "processes", "storage", "system"]
