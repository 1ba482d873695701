using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using Plotly.NET;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>The plotly.js that pages draw charts with: the file that Plotly.NET carries, and where it is told apart from others.</summary>
internal static class PlotlyBundle
{
    /// <summary>The version of plotly.js that Plotly.NET 6.0 carries and writes figures for.</summary>
    public const string Version = "2.28.0";

    /// <summary>The file's name beside the kernel.json, from where Jupyter serves it.</summary>
    public const string FileName = "plotly.min.js";

    /// <summary>The hash that a copy from elsewhere must have (W3C Subresource Integrity).</summary>
    public const string Integrity = "sha384-53bFwj3AXyrFzPyqXWI5rZuuEa3GbWeuLmgC04XqmiE7CairskQMPvcdXh+OLuir";

    /// <summary>Writes the script and its licence into a folder.</summary>
    /// <exception cref="InvalidDataException">Plotly.NET carries another script than the one whose hash pages ask for.</exception>
    public static void WriteTo(string folder)
    {
        var script = Read($"Plotly.NET.plotly-{Version}.min.js");
        var integrity = "sha384-" + Convert.ToBase64String(SHA384.HashData(script));
        if (integrity != Integrity)
        {
            throw new InvalidDataException(
                $"Plotly.NET's plotly.js has the hash {integrity}, expected {Integrity} of version {Version}. Change both together in PlotlyBundle.");
        }

        File.WriteAllBytes(Path.Combine(folder, FileName), script);
        File.WriteAllBytes(Path.Combine(folder, "plotly-LICENSE.txt"), Read("plotly-LICENSE.txt", Assembly.GetExecutingAssembly()));

        // The licences of what plotly.js is built from; the script names this file.
        File.WriteAllBytes(Path.Combine(folder, FileName + ".LICENSE.txt"), Read($"Plotly.NET.plotly-{Version}.min.js.LICENSE.txt"));
    }

    /// <summary>The script.</summary>
    public static string ReadText() => Encoding.UTF8.GetString(Read($"Plotly.NET.plotly-{Version}.min.js"));

    private static byte[] Read(string resource) => Read(resource, typeof(GenericChart).Assembly);

    private static byte[] Read(string resource, Assembly assembly)
    {
        using var stream = assembly.GetManifestResourceStream(resource)
            ?? throw new InvalidDataException(
                $"{assembly.GetName().Name} has no resource '{resource}', it has: {string.Join(", ", assembly.GetManifestResourceNames())}.");
        var content = new byte[stream.Length];
        stream.ReadExactly(content);
        return content;
    }
}
