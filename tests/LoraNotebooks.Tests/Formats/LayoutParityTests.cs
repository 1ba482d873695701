using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Models;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Formats;

/// <summary>
/// What is saved here has the form of upstream's own files, to the letter: every model folder and every LoRA of the parity
/// cases, read and saved again.
/// </summary>
[Trait("Category", "Parity")]
public sealed class LayoutParityTests(ITestOutputHelper output)
{
    private const string Cases = "unet-lora";
    private const string TwoAdapters = "two-adapters"; // has files of two other cases

    /// <summary>Differences that remain, each with its reason.</summary>
    private static readonly (string Pattern, string Reason)[] Accepted =
    [
        (@"_diffusers_version: ", "a version says which program wrote the file"),
        (
            @"metadata (modelspec\..*|ss_base_model_version|ss_sd_model_name|ss_v2|sshs_\w+): not of upstream",
            "sd-scripts' training program adds these; the cases were saved by its network alone"),
        (@"/ target_modules: \[|^adapter_config\.json: target_modules: \[", "PEFT writes a set, whose order changes from run to run"),
    ];

    /// <summary>Further ones of a LoRA that upstream has not written.</summary>
    private static readonly (string Pattern, string Reason)[] AcceptedOfNew =
    [
        .. Accepted,
        (@"auto_mapping: null", "it names Python classes"),
        (@"peft_version: missing", "a version says which program wrote the file"),
        (@"[ .](alora_invocation_tokens|arrow_config|corda_config|ensure_weight_tying|eva_config|kasa_config|layer_replication|loftq_config|"
            + @"lora_ga_config|megatron_config|megatron_core|monteclora_config|qalora_group_size|target_parameters|trainable_token_indices|"
            + @"use_bdlora|use_qalora|velora_config): missing",
            "fields of other methods, at rest here; PEFT fills them in, and versions that do not know a name refuse it"),
        (@"metadata ss_|metadata sshs_", "facts of the training, which each trainer has its own of"),
    ];

    [Fact]
    public void Save_ModelFolderOfUpstream_GivesItsLayout()
    {
        var differences = new List<string>();
        foreach (var name in Fixtures.Models)
        {
            var folder = Fixtures.Case(name);
            using var saved = new TemporaryFolder();
            using var scope = NewDisposeScope();
            using var pipeline = StableDiffusionPipeline.FromFolder(folder, TypeOf(Path.Combine(folder, "unet")));
            pipeline.Save(saved.Path);
            Gather(differences, name, FolderLayout.Differences(folder, saved.Path, static file => file.Contains('/') || file == "model_index.json"));
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [Fact]
    public void Save_LoraOfUpstream_GivesItsLayout()
    {
        var differences = new List<string>();
        var seen = new HashSet<LoraFileKind>();
        foreach (var (name, folder) in LoraCases())
        {
            using var scope = NewDisposeScope();
            using var saved = new TemporaryFolder();
            using var pipeline = StableDiffusionPipeline.FromFolder(Fixtures.BaseModelOf(Cases, name));
            foreach (var (source, kind, expected, actual) in Loras(folder, saved))
            {
                using var lora = StableDiffusionLora.Load(pipeline, source, "a");
                Save(lora, kind, saved, TypeOf(expected));
                seen.Add(kind);
                Gather(differences, $"{name}, {Path.GetFileName(expected)}", FolderLayout.Differences(expected, actual, IsOurs, CurrentName));
            }
        }

        Assert.Equal(Enum.GetValues<LoraFileKind>().Order(), seen.Order());
        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    /// <summary>What is trained here was never a file of upstream's: a new LoRA of the same settings must have the same layout.</summary>
    [Fact]
    public void Save_NewLoraOfTheSameSettings_GivesUpstreamsLayout()
    {
        var differences = new List<string>();
        foreach (var (name, folder) in LoraCases())
        {
            using var scope = NewDisposeScope();
            using var saved = new TemporaryFolder();
            using var pipeline = StableDiffusionPipeline.FromFolder(Fixtures.BaseModelOf(Cases, name));
            foreach (var (source, kind, expected, actual) in Loras(folder, saved))
            {
                LoraConfig unet;
                LoraConfig? text;
                using (var upstreams = StableDiffusionLora.Load(pipeline, source, "a"))
                {
                    unet = upstreams.UNet!.GetConfig("a") with { Carried = new Dictionary<string, JsonNode?>() };
                    text = upstreams.TextEncoder?.GetConfig("a") is { } config ? config with { Carried = new Dictionary<string, JsonNode?>() } : null;
                }

                if (kind == LoraFileKind.Kohya && unet.Method == AdapterMethod.Lokr)
                {
                    output.WriteLine($"{name}: not made anew: the file does not tell the factor of its Kronecker products");
                    continue;
                }

                using var lora = StableDiffusionLora.Create(pipeline, "a", unet, text, seed: 1);
                Save(lora, kind, saved, TypeOf(expected));
                Gather(differences, $"{name}, {Path.GetFileName(expected)}", FolderLayout.Differences(expected, actual, IsOurs, CurrentName), AcceptedOfNew);
            }
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    private static IEnumerable<(string Name, string Folder)> LoraCases() => Directory.GetDirectories(Fixtures.Case(Cases))
        .Order(StringComparer.Ordinal)
        .Select(static folder => (Path.GetFileName(folder), folder))
        .Where(static entry => Path.GetFileName(entry.folder) != TwoAdapters);

    private static bool IsOurs(string file) => file.EndsWith(".json", StringComparison.Ordinal) || file.EndsWith(".safetensors", StringComparison.Ordinal);

    /// <summary>What to load, how it is laid out, upstream's folder or file, and where the like of it will be saved.</summary>
    private static IEnumerable<(string Source, LoraFileKind Kind, string Expected, string Actual)> Loras(string folder, TemporaryFolder saved)
    {
        if (Directory.Exists(Path.Combine(folder, "peft_unet")))
        {
            // The cases name these folders their own way; a LoRA's folder has unet/ and text_encoder/.
            foreach (var part in (string[])["unet", "text_encoder"])
            {
                var copy = Directory.CreateDirectory(saved.In("source", part)).FullName;
                foreach (var file in Directory.GetFiles(Path.Combine(folder, "peft_" + part)))
                {
                    File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
                }
            }

            yield return (saved.In("source"), LoraFileKind.Peft, Path.Combine(folder, "peft_unet"), saved.In("peft", "unet"));
            yield return (saved.In("source"), LoraFileKind.Peft, Path.Combine(folder, "peft_text_encoder"), saved.In("peft", "text_encoder"));
        }

        foreach (var file in Directory.GetFiles(folder, "*.safetensors").Where(static file =>
            !file.EndsWith("_nometa.safetensors", StringComparison.Ordinal) && Path.GetFileName(file) is not ("inputs.safetensors" or "expected.safetensors")))
        {
            var isDiffusers = Path.GetFileName(file) == LoraFile.DiffusersName;
            yield return (
                file,
                isDiffusers ? LoraFileKind.Diffusers : LoraFileKind.Kohya,
                file,
                isDiffusers ? saved.In("diffusers", LoraFile.DiffusersName) : saved.In("kohya.safetensors"));
        }
    }

    private static void Save(StableDiffusionLora lora, LoraFileKind kind, TemporaryFolder saved, ScalarType dtype)
    {
        switch (kind)
        {
            case LoraFileKind.Peft:
                lora.SavePeft(saved.In("peft"), dtype);
                break;
            case LoraFileKind.Diffusers:
                lora.SaveDiffusers(saved.In("diffusers"), dtype);
                break;
            default:
                lora.SaveKohya(saved.In("kohya.safetensors"), dtype: dtype);
                break;
        }
    }

    /// <summary>
    /// Upstream has had three ways to name A and B and reads them all; what is saved here has the last one, which upstream's own
    /// training scripts write today.
    /// </summary>
    private static string CurrentName(string key) => Regex.Replace(
        key,
        @"\.lora(_linear_layer)?\.(down|up)\.weight$",
        static match => match.Groups[2].Value == "down" ? LoraState.DownPart : LoraState.UpPart);

    private void Gather(List<string> differences, string name, IReadOnlyList<string> found, IReadOnlyList<(string Pattern, string Reason)>? accepted = null)
    {
        foreach (var difference in found)
        {
            if ((accepted ?? Accepted).FirstOrDefault(one => Regex.IsMatch(difference, one.Pattern)) is { Reason: { } reason })
            {
                output.WriteLine($"{name}: {difference} (accepted: {reason})");
            }
            else
            {
                differences.Add($"{name}: {difference}");
            }
        }
    }

    /// <summary>The type of the weights of a file, or of the first file of a folder.</summary>
    private static ScalarType TypeOf(string path)
    {
        using var file = SafetensorsFile.Open(Directory.Exists(path) ? Directory.GetFiles(path, "*.safetensors")[0] : path);
        return file.Tensors.Values.First().DType;
    }
}
