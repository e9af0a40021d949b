module armory.test/tool

go 1.24.0
