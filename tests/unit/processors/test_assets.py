"""The dashboard's files as the worker serves them."""

import re

from aiohttp.test_utils import make_mocked_request

from processors.views.assets import CONTENT_SECURITY_POLICY, FOLDER, asset_pages

PAGES = asset_pages()


async def served(path, **headers):
    return await PAGES[path](make_mocked_request("GET", path, headers=headers))


def test_every_file_of_the_folder_is_served():
    assert len(PAGES) == len(list(FOLDER.iterdir())) + 1  # and plotly's


async def test_what_a_file_asks_for_is_there():
    asked = []
    for path in PAGES.keys() - {"/dashboard/plotly.min.js"}:
        text = (await served(path)).body.decode()
        asked += re.findall(r'(?:href|src)="(/dashboard/[^"]+)"', text)
        asked += ["/dashboard/" + name for name in re.findall(r'(?:from |import\()"\./([^"]+)"', text)]
    assert PAGES.keys() - {"/"} == set(asked)  # all of it, and nothing that nobody asks for


async def test_the_page_has_nothing_that_its_policy_forbids():
    response = await served("/")
    assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    page = response.body.decode()
    assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page) == []


async def test_charts_come_from_the_package_that_is_installed():
    response = await served("/dashboard/plotly.min.js")
    assert response.content_type == "text/javascript"
    assert b"plotly.js v" in response.body[:200]
    assert "max-age=86400" in response.headers["Cache-Control"]


async def test_who_has_a_file_already_is_told_so():
    first = await served("/dashboard/dashboard.js")
    assert (first.status, first.headers["Cache-Control"]) == (200, "no-cache")
    again = await served("/dashboard/dashboard.js", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, None)
    assert (await served("/dashboard/dashboard.js", **{"If-None-Match": '"other"'})).status == 200
