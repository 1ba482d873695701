using System.CommandLine;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Commands;

/// <summary><c>run</c>: executes notebooks and writes the executed notebook and a page for each.</summary>
internal static class RunCommand
{
    public static Command Create()
    {
        var notebooks = new Argument<string[]>("notebooks")
        {
            Description = "The notebooks to run, in this order.",
            Arity = ArgumentArity.OneOrMore,
            HelpName = "notebook.ipynb",
        };
        var parameters = new Option<string[]>("-p", "--parameter")
        {
            Description = "Sets a variable of the cell tagged \"parameters\": -p steps=20 -p prompt=\"a portrait\". The value is a C# literal.",
            HelpName = "name=value",
            DefaultValueFactory = _ => [],
        };
        var output = new Option<string>("--output", "-o")
        {
            Description = "The folder for the results; the notebook's own folder to keep its outputs in it.",
            HelpName = "folder",
            DefaultValueFactory = _ => "artifacts",
        };
        var format = new Option<string>("--format")
        {
            Description = "What to write: ipynb (the executed notebook), html (one self-contained page), or both.",
            HelpName = "ipynb,html",
            DefaultValueFactory = _ => "ipynb,html",
        };
        var timeout = new Option<string?>("--timeout")
        {
            Description = "The longest time that all cells of a notebook together may take: 90s, 8m, 1h30m. A bare number means seconds.",
            HelpName = "time",
        };
        var cellTimeout = new Option<string?>("--cell-timeout") { Description = "The longest time that each cell may take.", HelpName = "time" };
        var command = new Command("run", "Runs notebooks without Jupyter and writes <output>/<name>.ipynb and <output>/<name>.html, also when a cell fails.")
        {
            notebooks, parameters, output, format, timeout, cellTimeout,
        };
        command.SetAction((arguments, cancellation) => RunAsync(
            arguments.GetRequiredValue(notebooks),
            new Given(
                arguments.GetRequiredValue(parameters),
                arguments.GetRequiredValue(output),
                arguments.GetRequiredValue(format),
                arguments.GetValue(timeout),
                arguments.GetValue(cellTimeout)),
            cancellation));
        return command;
    }

    private static async Task<int> RunAsync(string[] paths, Given given, CancellationToken cancellation)
    {
        var terminal = new TerminalProgress();
        var faults = new List<string>();
        var options = given.Read(faults);
        if (faults.Count > 0)
        {
            terminal.Refused(string.Join('\n', faults));
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
                try
                {
                    var outcome = await new NotebookRunner(terminal).RunAsync(path, options, cancellation).ConfigureAwait(false);
                    exit = exit == RunExit.Ok ? outcome.Exit : exit;
                    if (outcome.Exit == RunExit.Canceled || outcome.StillRunning)
                    {
                        break;
                    }
                }
                catch (Exception error) when (error is IOException or UnauthorizedAccessException)
                {
                    // The cells ran; it is a result that could not be written.
                    terminal.Refused($"{path}: {error.Message}");
                    exit = exit == RunExit.Ok ? RunExit.CellFailed : exit;
                }
            }

            return exit;
        }).ConfigureAwait(false);
    }

    /// <summary>Looks at every notebook before the first one runs; null if all are well.</summary>
    private static RunExit? Check(string[] paths, RunOptions options, TerminalProgress terminal)
    {
        RunExit? refused = null;
        foreach (var path in paths)
        {
            var fault = Refusals.Try(path, terminal, () => NotebookRunner.Prepare(path, options));
            refused ??= fault;
        }

        foreach (var same in paths.GroupBy(path => Path.GetFileNameWithoutExtension(path), StringComparer.OrdinalIgnoreCase).Where(group => group.Count() > 1))
        {
            terminal.Refused($"{string.Join(" and ", same)} would both be written to {same.Key}.ipynb. Run them in two calls with different --output folders.");
            refused ??= RunExit.BadParameters;
        }

        return refused;
    }

    /// <summary>The options as they were typed.</summary>
    private sealed record Given(string[] Parameters, string Output, string Format, string? Timeout, string? CellTimeout)
    {
        /// <summary>The options as they are meant; what cannot be read is added to the faults.</summary>
        public RunOptions Read(List<string> faults) => new()
        {
            OutputFolder = Path.GetFullPath(Output),
            Formats = ReadFormats(faults),
            Parameters = ReadParameters(faults),
            Timeout = ReadTime("--timeout", Timeout, faults),
            CellTimeout = ReadTime("--cell-timeout", CellTimeout, faults),
        };

        private RunFormats ReadFormats(List<string> faults)
        {
            RunFormats formats = 0;
            var unknown = new List<string>();
            foreach (var name in Format.Split(',', StringSplitOptions.TrimEntries))
            {
                switch (name.ToUpperInvariant())
                {
                    case "IPYNB":
                        formats |= RunFormats.Notebook;
                        break;
                    case "HTML":
                        formats |= RunFormats.Page;
                        break;
                    default:
                        unknown.Add($"\"{name}\"");
                        break;
                }
            }

            if (unknown.Count > 0)
            {
                faults.Add($"--format {Format}: {string.Join(", ", unknown)} cannot be written; expected ipynb, html or ipynb,html.");
            }

            return formats;
        }

        private Dictionary<string, string> ReadParameters(List<string> faults)
        {
            var values = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (var parameter in Parameters)
            {
                var parts = parameter.Split('=', 2);
                if (parts.Length != 2 || parts[0].Trim().Length == 0)
                {
                    faults.Add($"-p {parameter}: expected name=value, for example -p steps=20.");
                }
                else if (!values.TryAdd(parts[0].Trim(), parts[1]))
                {
                    faults.Add($"-p {parts[0].Trim()} is given twice; give it once.");
                }
            }

            return values;
        }

        private static TimeSpan? ReadTime(string option, string? text, List<string> faults)
        {
            if (text is null)
            {
                return null;
            }

            if (!Durations.TryParse(text, out var time))
            {
                faults.Add($"{option} {text}: expected a length of time such as 90s, 8m or 1h30m.");
            }

            return time;
        }
    }
}
