"""What pyproject.toml cannot say: the workflow's files at the root are the package `pipeline.shipped` of the wheel."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["pipeline*"]), "pipeline.shipped"], package_dir={"pipeline.shipped": "."})
