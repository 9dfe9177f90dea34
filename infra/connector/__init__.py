"""The Power Platform connector: its files, its icon, and a package for one deployment."""
