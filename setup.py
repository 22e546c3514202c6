"""What pyproject.toml cannot say: the workflow's files at the root are the package `pipeline.shipped` of the wheel."""

from setuptools import find_packages, setup

PACKAGES = find_packages(include=["pipeline*", "snakemake_logger_plugin_webseg"])

setup(packages=[*PACKAGES, "pipeline.shipped"], package_dir={"pipeline.shipped": "."})
