using System.CommandLine;
using LoraNotebooks.Kernel.Jupyter;
using Spectre.Console;

namespace LoraNotebooks.Kernel.Commands;

/// <summary><c>kernel</c>: makes the kernel known to Jupyter and VS Code, or unknown again, and runs it.</summary>
internal static class KernelCommand
{
    public static Command Create() => new("kernel", "Installs the C# kernel for Jupyter and VS Code, or removes it.")
    {
        CreateInstall(),
        CreateUninstall(),
        KernelStart.Create(),
    };

    private static Command CreateInstall()
    {
        var place = new Place();
        var command = new Command("install", "Makes the kernel known to Jupyter, Notebook and VS Code. A kernel of the same name is replaced.");
        place.AddTo(command);
        command.SetAction(arguments => Try(arguments, place, (data, name) =>
            $"The kernel is installed in {KernelSpec.Install(data, name)}\nOpen a notebook with: lora-notebooks lab"));
        return command;
    }

    private static Command CreateUninstall()
    {
        var place = new Place();
        var command = new Command("uninstall", "Removes what \"kernel install\" wrote.");
        place.AddTo(command);
        command.SetAction(arguments => Try(arguments, place, (data, name) =>
            KernelSpec.Uninstall(data, name) is { } removed ? $"Removed {removed}" : $"There is no kernel {name} in {Path.Combine(data, "kernels")}."));
        return command;
    }

    private static int Try(ParseResult arguments, Place place, Func<string, string, string> act)
    {
        try
        {
            Console.WriteLine(act(place.Data(arguments), arguments.GetRequiredValue(place.Name)));
            return 0;
        }
        catch (Exception error) when (error is ArgumentException or IOException or UnauthorizedAccessException or InvalidOperationException)
        {
            AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) }).MarkupLineInterpolated($"[red]{error.Message}[/]");
            return 1;
        }
    }

    /// <summary>The options that say which kernel where; the same for both commands.</summary>
    private sealed class Place
    {
        private readonly Option<bool> _user = new("--user") { Description = "For this user. The default." };
        private readonly Option<bool> _environment = new("--sys-prefix")
        {
            Description = "For the Python environment that is active (VIRTUAL_ENV or CONDA_PREFIX).",
        };
        private readonly Option<string?> _prefix = new("--prefix")
        {
            Description = "For everyone who uses the installation at this path: <path>/share/jupyter.",
            HelpName = "path",
        };

        public Option<string> Name { get; } = new("--name")
        {
            Description = "The kernel's name. Notebooks ask for the default, and charts look for plotly.js there when there is no network.",
            HelpName = "name",
            DefaultValueFactory = _ => KernelSpec.DefaultName,
        };

        public void AddTo(Command command)
        {
            foreach (var option in (Option[])[_user, _environment, _prefix, Name])
            {
                command.Options.Add(option);
            }

            command.Validators.Add(result =>
            {
                if (((Option[])[_user, _environment, _prefix]).Count(option => result.GetResult(option) is not null) > 1)
                {
                    result.AddError("Give only one of --user, --sys-prefix and --prefix.");
                }
            });
        }

        /// <exception cref="InvalidOperationException">No environment is active.</exception>
        public string Data(ParseResult arguments)
        {
            if (arguments.GetValue(_prefix) is { } prefix)
            {
                return JupyterPaths.DataOf(prefix);
            }

            return !arguments.GetValue(_environment)
                ? JupyterPaths.UserData()
                : JupyterPaths.DataOf(JupyterPaths.ActiveEnvironment() ?? throw new InvalidOperationException(
                    "No Python environment is active: neither VIRTUAL_ENV nor CONDA_PREFIX is set. Activate one, or give its path with --prefix."));
        }
    }
}
