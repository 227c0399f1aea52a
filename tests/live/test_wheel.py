"""What people install, without the checkout."""

import subprocess
import sys
from pathlib import Path

import httpx

from app.entrypoints.http.pages import PAGE_FILES
from tests.serving import clean_environment, server_process, wait_for_status

ROOT = Path(__file__).parents[2]
MAX_BYTES = 1_000_000


def test_a_wheel_serves_speech_and_pages_outside_of_the_checkout(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    build = [*pip, "wheel", str(ROOT), "--no-deps", "--wheel-dir", str(wheels)]
    subprocess.run(build, check=True, cwd=tmp_path)
    (wheel,) = wheels.iterdir()
    assert wheel.stat().st_size < MAX_BYTES
    install = [*pip, "install", str(wheel), "--no-deps", "--target", str(site)]
    subprocess.run(install, check=True, cwd=tmp_path)
    # PYTHONSAFEPATH: not from the working directory, which is the checkout.
    environ = {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    environ["SOPRANO_STORE__DIRECTORY"] = str(tmp_path / "store")
    found = subprocess.run(
        [sys.executable, "-c", "import app; print(app.__file__)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=clean_environment(environ),
    )
    assert Path(found.stdout.strip()).is_relative_to(site)
    with server_process(tmp_path / "log", "--backend", "embedded", environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        with httpx.Client(base_url=server.url) as client:
            pages = ("/", *(f"/page/{name}" for name in PAGE_FILES))
            for page in (*pages, "/schema", "/schema/openapi.json", "/schema/swagger-ui-bundle.js"):
                assert client.get(page).status_code == 200
            answer = client.post("/v1/audio/speech", json={"input": "From a wheel."})
            assert answer.status_code == 200
