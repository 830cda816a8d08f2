module example.com/qgasim

go 1.19
