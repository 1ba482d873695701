using System.CommandLine;
using LoraNotebooks.Kernel.Running;
using Spectre.Console;

namespace LoraNotebooks.Kernel.Commands;

/// <summary><c>run</c>: executes notebooks and writes the executed notebook and a page for each.</summary>
internal static class RunCommand
{
    public static Command Create()
    {
        var notebooks = new Argument<string[]>("notebooks") { Description = "The notebooks to run, in this order.", Arity = ArgumentArity.OneOrMore, HelpName = "notebook.ipynb" };
        var parameters = new Option<string[]>("-p", "--parameter")
        {
            Description = "Sets a variable of the cell tagged \"parameters\": -p steps=20 -p prompt=\"a portrait\". The value is a C# literal.",
            HelpName = "name=value",
            DefaultValueFactory = _ => [],
        };
        var output = new Option<string>("--output", "-o") { Description = "The folder for the results.", HelpName = "folder", DefaultValueFactory = _ => "artifacts" };
        var timeout = new Option<string?>("--timeout") { Description = "The longest time that all cells of a notebook together may take: 90s, 8m, 1h30m. A bare number means seconds.", HelpName = "time" };
        var command = new Command("run", "Runs notebooks without Jupyter and writes <output>/<name>.ipynb and <output>/<name>.html, also when a cell fails.")
        {
            notebooks, parameters, output, timeout,
        };
        command.SetAction((arguments, cancellation) => RunAsync(
            arguments.GetRequiredValue(notebooks),
            arguments.GetRequiredValue(parameters),
            arguments.GetRequiredValue(output),
            arguments.GetValue(timeout),
            cancellation));
        return command;
    }

    private static async Task<int> RunAsync(string[] paths, string[] parameters, string output, string? timeout, CancellationToken cancellation)
    {
        // The console as it is now: cells write to it through their own sinks.
        var terminal = new TerminalProgress(AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Out) }));
        if (!TryRead(parameters, output, timeout, out var options, out var fault))
        {
            terminal.Refused(fault);
            return (int)RunExit.BadParameters;
        }

        if (Check(paths, options, terminal) is { } refused)
        {
            return (int)refused;
        }

        return (int)await terminal.RunAsync(async () =>
        {
            var exit = RunExit.Ok;
            foreach (var path in paths.Select(Path.GetFullPath).ToArray())
            {
                var outcome = await new NotebookRunner(terminal).RunAsync(path, options, cancellation).ConfigureAwait(false);
                exit = exit == RunExit.Ok ? outcome.Exit : exit;
                if (outcome.Exit == RunExit.Canceled || outcome.StillRunning)
                {
                    break;
                }
            }

            return exit;
        }).ConfigureAwait(false);
    }

    private static bool TryRead(string[] parameters, string output, string? timeout, out RunOptions options, out string fault)
    {
        options = new RunOptions { OutputFolder = Path.GetFullPath(output) };
        var faults = new List<string>();
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var parameter in parameters)
        {
            var parts = parameter.Split('=', 2);
            if (parts.Length != 2 || parts[0].Trim().Length == 0)
            {
                faults.Add($"-p {parameter}: expected name=value, for example -p steps=20.");
            }
            else if (!values.TryAdd(parts[0].Trim(), parts[1].Trim()))
            {
                faults.Add($"-p {parts[0].Trim()} is given twice; give it once.");
            }
        }

        if (timeout is not null)
        {
            if (Durations.TryParse(timeout, out var limit))
            {
                options = options with { Timeout = limit };
            }
            else
            {
                faults.Add($"--timeout {timeout}: expected a length of time such as 90s, 8m or 1h30m.");
            }
        }

        options = options with { Parameters = values };
        fault = string.Join('\n', faults);
        return faults.Count == 0;
    }

    /// <summary>Looks at every notebook before the first one runs; null if all are well.</summary>
    private static RunExit? Check(string[] paths, RunOptions options, TerminalProgress terminal)
    {
        RunExit? refused = null;
        foreach (var path in paths)
        {
            try
            {
                NotebookRunner.Prepare(path, options);
            }
            catch (Exception error) when (error is FileNotFoundException or InvalidDataException or RunParameterException)
            {
                terminal.Refused(error is RunParameterException ? $"{path}: {error.Message}" : error.Message);
                refused ??= error switch { FileNotFoundException => RunExit.FileNotFound, InvalidDataException => RunExit.NotANotebook, _ => RunExit.BadParameters };
            }
        }

        foreach (var same in paths.GroupBy(path => Path.GetFileNameWithoutExtension(path), StringComparer.OrdinalIgnoreCase).Where(group => group.Count() > 1))
        {
            terminal.Refused($"{string.Join(" and ", same)} would both be written to {same.Key}.ipynb. Run them in two calls with different --output folders.");
            refused ??= RunExit.BadParameters;
        }

        return refused;
    }
}
