from hostward.cli import run

run()
