using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>The folder by which Jupyter, and programs that look for kernels where Jupyter does, know this kernel.</summary>
/// <remarks>
/// It holds the command in kernel.json, the logo, and plotly.js, which the server then hands to pages: charts work without a network.
/// jupyter-client.readthedocs.io, "Kernel specs".
/// </remarks>
internal static partial class KernelSpec
{
    /// <summary>The name that notebooks' metadata give, and the folder's.</summary>
    public const string DefaultName = "lora-notebooks";

    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes the folder; one of the same name is replaced. It appears whole or not at all.</summary>
    /// <param name="data">Jupyter's data folder: one of <see cref="JupyterPaths"/>.</param>
    /// <param name="name">The kernel's name.</param>
    /// <returns>The folder written.</returns>
    /// <exception cref="ArgumentException">A name that Jupyter would not take.</exception>
    public static string Install(string data, string name = DefaultName)
    {
        var target = FolderOf(data, name);

        // Not in the folder of kernels: a program that searches it must not find half a kernel.
        var temporary = Path.Combine(data, $".{name}.{Guid.NewGuid():N}.tmp");
        var former = temporary + ".old";
        try
        {
            Directory.CreateDirectory(temporary);
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.WriteAllText(Path.Combine(temporary, "kernel.json"), Describe(Program()).ToJsonString(Json) + "\n");
            Logo.WriteTo(temporary);
            PlotlyBundle.WriteTo(temporary);
            if (Directory.Exists(target))
            {
                Directory.Move(target, former);
            }

            Directory.Move(temporary, target);
        }
        catch when (Directory.Exists(former) && !Directory.Exists(target))
        {
            Directory.Move(former, target);
            throw;
        }
        finally
        {
            foreach (var left in (string[])[temporary, former])
            {
                if (Directory.Exists(left))
                {
                    Directory.Delete(left, recursive: true);
                }
            }
        }

        return target;
    }

    /// <summary>Removes the folder.</summary>
    /// <returns>The folder that was removed, or null if there was none.</returns>
    /// <exception cref="ArgumentException">A name that Jupyter would not take.</exception>
    public static string? Uninstall(string data, string name = DefaultName)
    {
        var target = FolderOf(data, name);
        if (!Directory.Exists(target))
        {
            return null;
        }

        Directory.Delete(target, recursive: true);
        return target;
    }

    /// <summary>The content of kernel.json.</summary>
    /// <param name="program">The command and arguments that start this program.</param>
    public static JsonObject Describe(IEnumerable<string> program) => new()
    {
        ["argv"] = new JsonArray([.. program.Concat(["kernel", "start", "{connection_file}"]).Select(part => (JsonNode)part)]),
        ["display_name"] = "C# (LoraNotebooks)",
        ["language"] = "C#",
        // A signal would end a .NET process.
        ["interrupt_mode"] = "message",
        ["env"] = RuntimeRoot() is { } root ? new JsonObject { ["DOTNET_ROOT"] = root } : [],
        ["metadata"] = new JsonObject { ["debugger"] = false },
    };

    /// <summary>The command that starts the running program: its own executable where it was built with one, else dotnet with its assembly.</summary>
    public static IReadOnlyList<string> Program()
    {
        var assembly = typeof(KernelSpec).Assembly.Location;
        var executable = Path.ChangeExtension(assembly, OperatingSystem.IsWindows() ? ".exe" : null);
        return File.Exists(executable) ? [executable] : [DotnetHost.Path, assembly];
    }

    /// <summary>
    /// Where this process's .NET lies. A notebook program started from a desktop has not the
    /// shell's variables, and the executable would then look for .NET in the usual places only.
    /// </summary>
    private static string? RuntimeRoot()
    {
        var root = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(typeof(object).Assembly.Location)!, "..", "..", ".."));
        return Directory.Exists(Path.Combine(root, "host", "fxr")) ? root : null;
    }

    private static string FolderOf(string data, string name) => NamePattern().IsMatch(name)
        ? Path.Combine(data, "kernels", name)
        : throw new ArgumentException(
            $"Got the kernel name '{name}'; Jupyter takes letters, digits, '.', '_' and '-', beginning with a letter or digit.",
            nameof(name));

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._-]*\z")]
    private static partial Regex NamePattern();
}
