using System.CommandLine;
using LoraNotebooks.Foundation;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Commands;

/// <summary><c>strip</c>: takes outputs and execution counts out of notebooks, in place.</summary>
internal static class StripCommand
{
    public static Command Create()
    {
        var notebooks = new Argument<string[]>("notebooks")
        {
            Description = "The notebooks to strip.",
            Arity = ArgumentArity.OneOrMore,
            HelpName = "notebook.ipynb",
        };
        var check = new Option<bool>("--check") { Description = "Changes nothing, and exits with 1 if there is something to strip." };
        var command = new Command(
            "strip",
            "Takes outputs, execution counts, execution times and the machine that they were made on out of notebooks. "
                + "Every other byte of the file stays, and a file without them is not touched.")
        {
            notebooks, check,
        };
        command.SetAction(arguments => Strip(arguments.GetRequiredValue(notebooks), arguments.GetValue(check)));
        return command;
    }

    private static int Strip(string[] paths, bool onlyCheck)
    {
        var terminal = new TerminalProgress();
        var exit = RunExit.Ok;
        foreach (var path in paths)
        {
            var isClean = true;
            var refused = Refusals.Try(path, terminal, () =>
            {
                _ = Notebook.Load(path);
                var notebook = File.ReadAllBytes(path);
                var stripped = NotebookStripper.Strip(notebook);
                isClean = ReferenceEquals(stripped, notebook);
                if (!isClean && !onlyCheck)
                {
                    AtomicFile.WriteAllBytes(path, stripped);
                }

                terminal.Say(isClean ? $"{path}: nothing to strip." : onlyCheck ? $"{path}: holds outputs." : $"{path}: stripped.");
            });
            var ended = refused ?? (onlyCheck && !isClean ? RunExit.CellFailed : RunExit.Ok);
            exit = exit == RunExit.Ok ? ended : exit;
        }

        return (int)exit;
    }
}
