//! Damage that nobody notices: rows that are missing, rows too many, and wrong values in each
//! column of each table, planted into sound data.
//!
//! `nuage check` must name each. A table or a column that nobody plants anything into fails the
//! test, so that a new one comes with its rules.

mod damages;

use std::collections::BTreeSet;
use std::path::PathBuf;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::tables::writable_views;
use rusqlite::Connection;

use crate::older_forms::data::{Data, Form};
use damages::{DAMAGES, DAMAGES_OF_SQLITE, Damage, HARMLESS, HARMLESS_ON_SQLITE};

both_databases!(each_damage_is_named, each_table_and_column_is_damaged);

fn each_damage_is_named(backend: Backend) {
    let patient = Patient::new(backend);
    for (place, sql, sentence) in damages(backend) {
        patient.damage(sql);
        let (code, words) = patient.data.run("check", &[]);
        let is_told = sentence.split('|').any(|sentence| words.contains(sentence));
        let is_named = code == Some(6) && is_told;
        assert!(is_named, "{place}: after {sql}\nnobody says {sentence:?}, but {code:?}:\n{words}");
    }
    for (_, sql, _) in harmless(backend) {
        patient.damage(sql);
        patient.data.expect_sound();
    }
}

fn each_table_and_column_is_damaged(backend: Backend) {
    let planted = damages(backend).chain(harmless(backend));
    let planted = planted.map(|(place, ..)| (*place).to_owned());
    let planted: BTreeSet<String> = planted.collect();
    let mut places = BTreeSet::new();
    for column in Patient::new(backend).columns {
        let (table, _) = column.split_once('.').unwrap();
        places.extend([format!("{table}-"), format!("{table}+"), column]);
    }
    assert_eq!(planted, places);
}

fn damages(backend: Backend) -> impl Iterator<Item = &'static Damage> {
    DAMAGES.iter().chain(backend.choose(DAMAGES_OF_SQLITE, &[]))
}

fn harmless(backend: Backend) -> impl Iterator<Item = &'static Damage> {
    HARMLESS.iter().chain(backend.choose(HARMLESS_ON_SQLITE, &[]))
}

/// Data that are made sound again before each damage.
struct Patient {
    data: Data,
    /// Of all tables: `table.column`.
    columns: Vec<String>,
    /// The sound file; a database keeps its sound tables beside.
    file: Vec<u8>,
}

impl Patient {
    fn new(backend: Backend) -> Self {
        let data = Data::of(Form::Second, backend);
        // Also brings it to the present form.
        data.expect_sound();
        let mut patient = Self { data, columns: Vec::new(), file: Vec::new() };
        match &patient.data.database {
            Some(database) => {
                let columns = database.execute(COLUMNS_OF_POSTGRES);
                patient.columns = columns.lines().map(str::to_owned).collect();
                database.execute("CREATE SCHEMA sound");
                for table in patient.tables() {
                    database.execute(&format!("CREATE TABLE sound.{table} AS TABLE {table}"));
                }
            }
            None => {
                let tables = Connection::open(patient.path()).unwrap();
                let mut columns = tables.prepare(COLUMNS_OF_SQLITE).unwrap();
                let columns = columns.query_map([], |row| row.get(0)).unwrap();
                patient.columns = columns.map(Result::unwrap).collect();
                patient.file = std::fs::read(patient.path()).unwrap();
            }
        }
        patient
    }

    /// Changes the tables behind the program's back.
    fn damage(&self, sql: &str) {
        let Some(database) = &self.data.database else {
            std::fs::write(self.path(), &self.file).unwrap();
            let tables = Connection::open(self.path()).unwrap();
            tables.execute_batch(&writable_views()).unwrap();
            return tables.execute_batch(&sql.replace("PLACE", "number")).unwrap();
        };
        let mended = self.tables().into_iter().map(|table| {
            format!("TRUNCATE {table}; INSERT INTO {table} SELECT * FROM sound.{table};")
        });
        let sql = sql.replace("PLACE", "bucket, collection");
        database.execute(&format!("{} {sql}", mended.collect::<String>()));
    }

    fn tables(&self) -> BTreeSet<&str> {
        self.columns.iter().map(|column| column.split('.').next().unwrap()).collect()
    }

    fn path(&self) -> PathBuf {
        self.data.path().join("nuage.db")
    }
}

/// Where there is a view that has the names of collections instead of their numbers, its columns.
const COLUMNS_OF_SQLITE: &str = "
    SELECT DISTINCT replace(t.name, 'named_', '') || '.' || c.name
    FROM sqlite_schema t, pragma_table_info(t.name) c
    WHERE t.name NOT LIKE 'sqlite%' AND (t.type = 'view' AND c.name <> 'number'
        OR t.type = 'table' AND (c.name <> 'number' OR t.name IN ('collections', 'dropped')))";
const COLUMNS_OF_POSTGRES: &str = "
    SELECT table_name || '.' || column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name NOT LIKE 'named%'";
