@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("p.gif", ValueError, "must end in one of .png"),
        ("none/p.png", FileNotFoundError, "the folder .*none does not exist"),
        ("file/p.png", FileNotFoundError, "the folder .*file does not exist"),
        ("folder.png", ValueError, "is a folder"),
    ],
)
def test_bad_places_are_refused_at_once(tmp_path: Path, name: str, error: type[Exception], message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=message):
        images.Output.check(tmp_path / name)


def test_a_folder_that_cannot_be_written_is_refused_at_once() -> None:
    with pytest.raises(PermissionError, match="the folder /proc cannot be written"):
        images.Output.check("/proc/p.png")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(b"old")

    def write_half() -> None:
        with images.Output.check(path).open() as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    images.write(tmp_path / "p.png", noise(np.uint8, 8, 8))
    (tmp_path / "usual").touch()
    assert (tmp_path / "p.png").stat().st_mode == (tmp_path / "usual").stat().st_mode
