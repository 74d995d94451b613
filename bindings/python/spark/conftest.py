import pathlib
import sys

import pytest

# The model folders and catalogues of the other tests.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))

import cluster


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    with cluster.cluster(folder) as address, cluster.session(address, folder) as session:
        yield session
