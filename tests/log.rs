//! The log of runs over several folders.

use std::fs;

use crate::compare::with_runs;

#[test]
fn runs_of_one_name_are_told_apart_by_their_folders() {
    let directory = with_runs(3);
    fs::remove_dir_all(directory.path("runs/model")).unwrap();
    for (run, place) in [("r0001", "x"), ("r0002", "y")] {
        fs::create_dir_all(directory.path(place)).unwrap();
        let place = directory.path(&format!("{place}/model"));
        fs::rename(directory.path("runs").join(run), place).unwrap();
    }
    directory.dataprep("note x/model here").ok();
    let csv = directory.dataprep("runs --csv").ok().stdout;
    let names: Vec<&str> = csv.lines().skip(1).map(|it| it.split(',').next().unwrap()).collect();
    assert_eq!(names, ["r0000", "x/model", "y/model"]);
    assert!(csv.lines().nth(2).unwrap().ends_with(",here"), "remarks stay with their run: {csv}");
    let none = directory.command("runs --where").arg("loss > 99").output().unwrap();
    let said = String::from_utf8(none.stderr).unwrap();
    assert!(none.status.success() && said.contains("no run of 3 meets"), "{said}");
    let empty = directory.command("note x/model").arg(" ").output().unwrap();
    assert_eq!(empty.status.code(), Some(2));
}
