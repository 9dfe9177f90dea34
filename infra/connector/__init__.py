"""The Power Platform connector: its files, the icon's drawing, and the filling of a package for one
deployment.
"""
