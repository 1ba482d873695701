using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Hub;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Hub;

/// <summary>What is in the Hugging Face cache is what a pipeline reads.</summary>
public sealed class HubModelLoadingTests
{
    private const string Commit = "0123456789abcdef0123456789abcdef01234567";

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Load_SnapshotWithOnlyFp16Files_ReadsThem(bool sharded)
    {
        using var folder = new TemporaryFolder();
        var cached = Path.Combine(folder.Path, "models--org--tiny");
        var snapshot = Path.Combine(cached, "snapshots", Commit);
        Directory.CreateDirectory(Path.Combine(cached, "refs"));
        File.WriteAllText(Path.Combine(cached, "refs", "main"), Commit);
        using var original = TinyPipeline.Create();
        original.Save(snapshot, ScalarType.Float16);
        foreach (var path in Directory.GetFiles(snapshot, "*.safetensors", SearchOption.AllDirectories))
        {
            ToVariant(path, sharded);
        }

        var settings = new HubSettings { CacheFolder = folder.Path, Offline = true };
        var found = ModelSource.Resolve("org/tiny", settings);
        using var loaded = StableDiffusionPipeline.Load(found);
        var outline = PipelineOutline.Read(found);

        Assert.Equal(snapshot, found);
        Assert.Equal($"org/tiny@{Commit}", loaded.HubName);
        using var lora = StableDiffusionLora.Create(loaded, "lora", new LoraConfig { Rank = 1, Alpha = 1, TargetModules = ["to_q"] }, null, seed: 1);
        lora.SaveKohya(folder.In("lora.safetensors"));
        using var file = SafetensorsFile.Open(folder.In("lora.safetensors"));
        Assert.Equal("org/tiny", file.Metadata["ss_sd_model_name"]);
        Assert.Equal(original.UNet.parameters().Sum(static p => p.numel()), loaded.UNet.parameters().Sum(static p => p.numel()));
        Assert.Equal(
            0,
            Fixtures.MaxDifference(original.UNet.parameters().First().to(ScalarType.Float16).to(ScalarType.Float32), loaded.UNet.parameters().First()));
        Assert.Equal([ScalarType.Float16], outline.Stored.Select(static stored => stored.Type));
    }

    [Fact]
    public void Load_NameThatIsNotCached_SaysHowToFetchIt()
    {
        var message = Assert.Throws<FileNotFoundException>(() => StableDiffusionPipeline.Load("no-such-org/no-such-model")).Message;
        Assert.Contains("lora-notebooks model download no-such-org/no-such-model", message, StringComparison.Ordinal);
        Assert.Equal(message, Assert.Throws<FileNotFoundException>(() => PipelineOutline.Read("no-such-org/no-such-model")).Message);
    }

    /// <summary>unet/x.safetensors as x.fp16.safetensors, or as two shards with x.safetensors.index.fp16.json.</summary>
    private static void ToVariant(string path, bool sharded)
    {
        using var scope = NewDisposeScope();
        var stem = path[..^".safetensors".Length];
        if (!sharded)
        {
            File.Move(path, $"{stem}.fp16.safetensors");
            return;
        }

        var tensors = SafetensorsFile.LoadAll(path);
        var map = new JsonObject();
        foreach (var (part, number) in tensors.Chunk((tensors.Count + 1) / 2).Select(static (part, i) => (part, i + 1)))
        {
            var name = $"{Path.GetFileName(stem)}.fp16-0000{number}-of-00002.safetensors";
            SafetensorsFile.Write(Path.Combine(Path.GetDirectoryName(path)!, name), part.ToDictionary());
            foreach (var (key, _) in part)
            {
                map[key] = name;
            }
        }

        File.Delete(path);
        File.WriteAllText($"{stem}.safetensors.index.fp16.json", new JsonObject { ["metadata"] = new JsonObject(), ["weight_map"] = map }.ToJsonString());
    }
}
