using System.CommandLine;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Commands;

/// <summary><c>check</c>: compiles the cells of notebooks without running them, and looks whether stored outputs are those of the code.</summary>
internal static class CheckCommand
{
    public static Command Create()
    {
        var notebooks = new Argument<string[]>("notebooks")
        {
            Description = "The notebooks to check.",
            Arity = ArgumentArity.OneOrMore,
            HelpName = "notebook.ipynb",
        };
        var outputs = new Option<bool>("--outputs") { Description = "Also reports stored outputs that are missing, unfinished, or older than the code." };
        var command = new Command(
            "check",
            "Compiles all code cells in their order and runs none; exits with 1 if one does not compile. "
                + "Cells tagged \"raises-exception\" may, cells tagged \"skip\" are left out.")
        {
            notebooks, outputs,
        };
        command.SetAction((arguments, cancellation) =>
        {
            var terminal = new TerminalProgress();
            return terminal.RunAsync(() => CheckAsync(arguments.GetRequiredValue(notebooks), arguments.GetValue(outputs), terminal, cancellation));
        });
        return command;
    }

    private static async Task<int> CheckAsync(string[] paths, bool outputs, TerminalProgress terminal, CancellationToken cancellation)
    {
        var exit = RunExit.Ok;
        foreach (var path in paths)
        {
            Notebook? notebook = null;
            var refused = Refusals.Try(path, terminal, () => notebook = NotebookRunner.Load(path));
            if (notebook is not null)
            {
                var drifted = outputs && ReportOutputs(path, notebook, terminal);
                var broken = await ReportCellsAsync(path, notebook, terminal, cancellation).ConfigureAwait(false);
                refused = drifted || broken ? RunExit.CellFailed : null;
            }

            exit = exit == RunExit.Ok ? refused ?? RunExit.Ok : exit;
        }

        return (int)exit;
    }

    /// <summary>Compiles the cells; true if one of them does not compile.</summary>
    private static async Task<bool> ReportCellsAsync(string path, Notebook notebook, TerminalProgress terminal, CancellationToken cancellation)
    {
        var checker = new CellChecker(Path.GetDirectoryName(Path.GetFullPath(path))!, terminal.Status, note => terminal.Say($"{path}: {note}"));
        var cells = CellTitles.Of(notebook);
        var broken = new List<(int Number, string Title, CellError Error)>();
        foreach (var (index, (cell, title)) in cells.Index().Where(cell => !cell.Item.Cell.IsSkipped()))
        {
            if (await checker.CheckAsync(CellCode.Of(cell), $"cell {index + 1}", cancellation).ConfigureAwait(false) is { } error && !cell.MayFail())
            {
                broken.Add((index + 1, title, error));
            }
        }

        if (broken.Count == 0)
        {
            terminal.Say($"{path}: {cells.Count} {(cells.Count == 1 ? "cell compiles" : "cells compile")}.");
            return false;
        }

        terminal.Refused($"{path}: {broken.Count} of {cells.Count} cells {(broken.Count == 1 ? "does" : "do")} not compile.");
        foreach (var (number, title, error) in broken)
        {
            terminal.Refused($"Cell {number} ({title}):");
            foreach (var line in error.Traceback)
            {
                terminal.Say("  " + line);
            }
        }

        if (broken[0].Number < cells.Count)
        {
            terminal.Say($"Cells after cell {broken[0].Number} were compiled without the faulty ones; some of what they report may only follow from it.");
        }

        return true;
    }

    /// <summary>Looks at the stored outputs; true if they are not those of the code.</summary>
    private static bool ReportOutputs(string path, Notebook notebook, TerminalProgress terminal)
    {
        var faults = NotebookDrift.FaultsOf(notebook);
        foreach (var fault in faults)
        {
            terminal.Refused($"{path}: {fault}");
        }

        if (faults.Count > 0)
        {
            var folder = Path.GetDirectoryName(path) is { Length: > 0 } named ? named : ".";
            terminal.Say($"To make the outputs anew: lora-notebooks run {path} --output {folder} --format ipynb");
        }

        return faults.Count > 0;
    }
}
