using System.Net;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>The addresses and the key that a Jupyter front end hands to a kernel when it starts it.</summary>
/// <remarks>Source: Jupyter client documentation, "Making kernels for Jupyter", connection files.</remarks>
internal sealed record ConnectionFile
{
    private const string Sha256 = "hmac-sha256";

    /// <summary>The IP address to bind to.</summary>
    [JsonPropertyName("ip")]
    public string Address { get; init; } = "127.0.0.1";

    /// <summary>The transport; only tcp is spoken.</summary>
    [JsonPropertyName("transport")]
    public string Transport { get; init; } = "tcp";

    /// <summary>The port for requests that are answered in order.</summary>
    [JsonPropertyName("shell_port")]
    public int ShellPort { get; init; }

    /// <summary>The port for everything that is told to all front ends.</summary>
    [JsonPropertyName("iopub_port")]
    public int IOPubPort { get; init; }

    /// <summary>The port on which the kernel asks for input.</summary>
    [JsonPropertyName("stdin_port")]
    public int StdinPort { get; init; }

    /// <summary>The port for requests that do not wait: interrupt, shutdown.</summary>
    [JsonPropertyName("control_port")]
    public int ControlPort { get; init; }

    /// <summary>The port that sends back whatever it is sent.</summary>
    [JsonPropertyName("hb_port")]
    public int HeartbeatPort { get; init; }

    /// <summary>The key of the signatures; empty for none.</summary>
    [JsonPropertyName("key")]
    public string Key { get; init; } = "";

    /// <summary>The algorithm of the signatures.</summary>
    [JsonPropertyName("signature_scheme")]
    public string SignatureScheme { get; init; } = Sha256;

    /// <summary>The kernel's identity in a Jupyter server, which names the file after it; null for a file of another name.</summary>
    [JsonIgnore]
    public string? KernelId { get; init; }

    /// <summary>Reads a connection file.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">It is not a connection file, or asks for what is not spoken here; lists every fault.</exception>
    public static ConnectionFile Read(string path)
    {
        if (!File.Exists(path))
        {
            throw new FileNotFoundException(
                $"There is no connection file {path}. Jupyter makes one when it starts a kernel; "
                    + "use `lora-notebooks lab` or choose \"C# (LoraNotebooks)\" in Jupyter.",
                path);
        }

        ConnectionFile? file;
        try
        {
            file = JsonSerializer.Deserialize<ConnectionFile>(File.ReadAllBytes(path));
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"{path} is not a Jupyter connection file: {error.Message}", error);
        }

        var faults = file?.Validate() ?? ["it is null, expected a JSON object"];
        if (faults.Count > 0)
        {
            throw new InvalidDataException(
                $"{path} is not a connection file that this kernel can use:\n{string.Join('\n', faults.Select(fault => "- " + fault))}");
        }

        const string prefix = "kernel-";
        var name = Path.GetFileNameWithoutExtension(path);
        return file! with
        {
            KernelId = name.StartsWith(prefix, StringComparison.Ordinal) && Guid.TryParse(name[prefix.Length..], out _) ? name[prefix.Length..] : null,
        };
    }

    /// <summary>Every fault; empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new List<string>();
        if (Transport != "tcp")
        {
            faults.Add($"transport: got \"{Transport}\", expected \"tcp\"");
        }

        // Whoever reaches the sockets runs code as this user.
        if (!IPAddress.TryParse(Address, out var address) || !IPAddress.IsLoopback(address))
        {
            faults.Add($"ip: got \"{Address}\", expected a loopback address such as 127.0.0.1; to work from afar, run Jupyter on the far machine");
        }

        if (SignatureScheme != Sha256)
        {
            faults.Add($"signature_scheme: got \"{SignatureScheme}\", expected \"{Sha256}\"");
        }

        (string Name, int Port)[] ports =
            [("shell_port", ShellPort), ("iopub_port", IOPubPort), ("stdin_port", StdinPort), ("control_port", ControlPort), ("hb_port", HeartbeatPort)];
        faults.AddRange(ports.Where(port => port.Port is < 1 or > 65535).Select(port => $"{port.Name}: got {port.Port}, expected a port from 1 to 65535"));
        return faults;
    }
}
