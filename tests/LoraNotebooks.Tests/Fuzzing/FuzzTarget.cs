using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Tests.Adapters;
using LoraNotebooks.Tests.Data;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Tests.Models.Language;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Fuzzing;

/// <summary>A reader, a folder that it can read, and the file in it that is damaged.</summary>
/// <param name="Name">The reader and the file.</param>
/// <param name="Folder">The folder.</param>
/// <param name="File">The damaged file, relative to it.</param>
/// <param name="Mutate">How it is damaged.</param>
/// <param name="Read">Reads the folder and frees what it read.</param>
/// <param name="Share">This target's part of all mutations.</param>
internal sealed record FuzzTarget(string Name, string Folder, string File, Func<Random, byte[], byte[]> Mutate, Action<string> Read, int Share)
{
    /// <summary>The exceptions that the readers document.</summary>
    public Type[] Documented { get; init; } = [typeof(InvalidDataException), typeof(FileNotFoundException)];

    /// <summary>One target per reader.</summary>
    /// <param name="root">An empty folder for the samples.</param>
    public static IReadOnlyList<FuzzTarget> All(TemporaryFolder root)
    {
        var network = new TinyNetwork();
        using var scope = NewDisposeScope();
        using (var pipeline = TinyPipeline.Create())
        {
            pipeline.Save(root.In("pipeline"));
            using var lora = StableDiffusionLora.Create(
                pipeline, "a", new LoraConfig { Rank = 2, TargetModules = ["to_q", "proj_in"] }, new LoraConfig { Rank = 2, TargetModules = ["q_proj"] }, 1);
            lora.SaveKohya(root.In("kohya", "lora.safetensors"));
            lora.SaveDiffusers(root.In("diffusers"));
            lora.SavePeft(root.In("peft"));
        }

        Tensors(root.In("tensors", "some.safetensors"));
        SaveShards(root.In("pipeline", "vae"), root.In("shards"));
        SaveAdapter(
            network,
            root.In("adapter"),
            new LoraConfig
            {
                Rank = 2,
                TargetModules = ["to_q", "conv", "token"],
                RankPattern = new Dictionary<string, int> { ["conv"] = 3 },
                AlphaPattern = new Dictionary<string, double> { ["to_.*"] = 1.5 },
                ModulesToSave = ["to_out"],
            });
        foreach (var name in TinyLanguageModels.Names)
        {
            using var language = TinyLanguageModels.Create(name);
            language.Save(root.In(name));
        }

        Dataset(root.In("dataset"));
        var parts = Parts();

        var unet = root.In("pipeline", "unet");
        var vae = root.In("pipeline", "vae");
        var text = root.In("pipeline", "text_encoder");
        var tokenizer = root.In("pipeline", "tokenizer");
        return
        [
            new("safetensors", root.In("tensors"), "some.safetensors", Mutation.Safetensors, ReadTensors, 64),
            new("unet config", unet, "config.json", Mutation.Json, ReadUNet, 10),
            new("unet weights", unet, ModelFolder.DiffusersWeights, Mutation.Safetensors, ReadUNet, 6),
            new("vae config", vae, "config.json", Mutation.Json, ReadVae, 16),
            new("text encoder config", text, "config.json", Mutation.Json, ReadText, 24),
            new("llama config", root.In("llama"), "config.json", Mutation.Json, ReadLanguage, 10),
            new("qwen2 config", root.In("qwen2"), "config.json", Mutation.Json, ReadLanguage, 10),
            new("gpt2 config", root.In("gpt2"), "config.json", Mutation.Json, ReadLanguage, 10),
            new("scheduler config", root.In("pipeline"), "scheduler/scheduler_config.json", Mutation.Json, ReadScheduler, 32),
            new("model_index", root.In("pipeline"), "model_index.json", Mutation.Json, folder => PipelineFolder.Read(folder), 16),
            new("shard index", root.In("shards"), "diffusion_pytorch_model.safetensors.index.json", Mutation.Json, ReadVae, 16),
            new("vocab", tokenizer, "vocab.json", Mutation.Json, ReadTokenizer, 20),
            new("merges", tokenizer, "merges.txt", Mutation.Lines, ReadTokenizer, 20),
            new("tokenizer_config", tokenizer, "tokenizer_config.json", Mutation.Json, ReadTokenizer, 16),
            new("special_tokens_map", tokenizer, "special_tokens_map.json", Mutation.Json, ReadTokenizer, 16),
            new("adapter_config", root.In("adapter"), PeftFolder.ConfigName, Mutation.Json, folder => ReadAdapter(network, folder), 48),
            new("adapter weights", root.In("adapter"), PeftFolder.WeightsName, Mutation.Safetensors, folder => ReadAdapter(network, folder), 16),
            new(
                "second network of a PEFT folder",
                root.In("peft"),
                "text_encoder/adapter_config.json",
                Mutation.Json,
                folder => LoraFile.Read(folder, parts).Dispose(),
                8),
            new(
                "kohya file",
                root.In("kohya"),
                "lora.safetensors",
                Mutation.Safetensors,
                folder => LoraFile.Read(Path.Combine(folder, "lora.safetensors"), parts).Dispose(),
                16),
            new("diffusers file", root.In("diffusers"), LoraFile.DiffusersName, Mutation.Safetensors, folder => LoraFile.Read(folder, parts).Dispose(), 16),
            new("metadata.jsonl", root.In("dataset"), "metadata.jsonl", Mutation.JsonLines, ReadDataset, 16) { Documented = [typeof(DatasetException)] },
            new("caption", root.In("dataset"), "b.txt", Mutation.Bytes, ReadDataset, 8) { Documented = [typeof(DatasetException)] },
            .. ModelTargets.All(root),
            .. LoraTargets.All(root, network),
            .. HubTargets.All(root),
        ];
    }

    private static void ReadTensors(string folder)
    {
        using var file = SafetensorsFile.Open(Path.Combine(folder, "some.safetensors"));
        foreach (var name in file.Tensors.Keys)
        {
            using var tensor = file.Load(name);
            using var converted = tensor.to(float64);
        }
    }

    private static void ReadUNet(string folder)
    {
        using var unet = UNet2DConditionModel.FromFolder(folder);
        unet.Config.ToJson().ToJsonString();
    }

    private static void ReadVae(string folder)
    {
        using var vae = AutoencoderKL.FromFolder(folder);
        vae.Config.ToJson().ToJsonString();
    }

    private static void ReadText(string folder)
    {
        using var text = ClipTextModel.FromFolder(folder);
        text.Config.ToJson().ToJsonString();
    }

    private static void ReadLanguage(string folder)
    {
        using var model = CausalLanguageModel.FromFolder(folder);
        model.Config.ToJson().ToJsonString();
    }

    private static void ReadScheduler(string folder)
    {
        var config = SchedulerConfig.Load(Path.Combine(folder, "scheduler", "scheduler_config.json"));
        _ = new NoiseSchedule(config);
        PythonJson.Write(config.ToJson());
    }

    private static void ReadTokenizer(string folder)
    {
        var tokenizer = ClipTokenizer.FromFolder(folder);
        var ids = tokenizer.Encode("portrait, long hair, a blue shirt <|endoftext|> 漢字 end");
        tokenizer.Decode(ids);
    }

    /// <summary>Reads a PEFT folder and puts its adapter beside a network.</summary>
    public static void ReadAdapter(nn.Module network, string folder)
    {
        using var state = PeftFolder.Read(folder);
        using var model = new AdaptedModel(network);
        model.Add("a", state);
    }

    private static void ReadDataset(string folder) => ImageDataset.Inspect(folder).ThrowIfErrors();

    private static void Tensors(string path) => SafetensorsFile.Write(
        path,
        new Dictionary<string, Tensor>
        {
            ["a.weight"] = rand(3, 4),
            ["a.bias"] = rand(3).to(bfloat16),
            ["scale"] = tensor(2.5, float16),
            ["ids"] = arange(5),
            ["mask"] = ones(2, 3, ScalarType.Bool),
            ["nothing"] = zeros(0, 7),
            ["bytes"] = zeros(2, 2, 2, ScalarType.Byte),
        },
        new Dictionary<string, string> { ["format"] = "pt", ["note"] = "é\n" });

    /// <summary>Copies a model's folder in two shards.</summary>
    /// <param name="model">The folder.</param>
    /// <param name="folder">The new one.</param>
    /// <param name="variant">The files' variant, if they have one.</param>
    public static void SaveShards(string model, string folder, string? variant = null)
    {
        var part = variant is null ? "" : "." + variant;
        Directory.CreateDirectory(folder);
        System.IO.File.Copy(Path.Combine(model, "config.json"), Path.Combine(folder, "config.json"));
        var tensors = SafetensorsFile.LoadAll(Path.Combine(model, ModelFolder.DiffusersWeights));
        var map = new System.Text.Json.Nodes.JsonObject();
        foreach (var shard in tensors.GroupBy(
            pair => $"model{part}-0000{(pair.Key.StartsWith("encoder", StringComparison.Ordinal) ? 1 : 2)}-of-00002.safetensors"))
        {
            SafetensorsFile.Write(Path.Combine(folder, shard.Key), shard.ToDictionary());
            foreach (var (name, _) in shard)
            {
                map[name] = shard.Key;
            }
        }

        var total = tensors.Values.Sum(static tensor => tensor.numel() * tensor.element_size());
        System.IO.File.WriteAllText(
            Path.Combine(folder, $"diffusion_pytorch_model.safetensors.index{part}.json"),
            new System.Text.Json.Nodes.JsonObject
            {
                ["metadata"] = new System.Text.Json.Nodes.JsonObject { ["total_size"] = total },
                ["weight_map"] = map,
            }.ToJsonString());
    }

    /// <summary>Writes the PEFT folder of a new adapter.</summary>
    public static void SaveAdapter(nn.Module network, string folder, LoraConfig config)
    {
        using var model = new AdaptedModel(network);
        using var generator = new Generator(1);
        model.Add("a", config, generator);
        using var state = model.ToState("a");
        PeftFolder.Write(folder, state);
    }

    private static void Dataset(string folder)
    {
        Directory.CreateDirectory(folder);
        foreach (var (name, seed) in new[] { ("a.png", 1), ("b.png", 2), ("c.png", 3) })
        {
            DatasetFolder.Picture(8, 8, seed).SavePng(Path.Combine(folder, name));
        }

        System.IO.File.WriteAllText(Path.Combine(folder, "b.txt"), "a portrait, long hair\n");
        System.IO.File.WriteAllText(
            Path.Combine(folder, "metadata.jsonl"),
            "{\"file_name\": \"a.png\", \"text\": \"a portrait\", \"crop\": [0, 0, 4, 4], \"artist\": {\"name\": \"x\"}}\n"
                + "{\"file_name\": \"c.png\", \"text\": \"short hair\"}\n");
    }

    private static IReadOnlyList<LoraPart> Parts()
    {
        using var pipeline = TinyPipeline.Create();
        return
        [
            new("unet", "lora_unet", Paths(pipeline.UNet)),
            new("text_encoder", "lora_te", Paths(pipeline.TextEncoder)),
        ];

        static string[] Paths(nn.Module module) => [.. module.named_modules().Select(static pair => pair.name).Where(static path => path.Length > 0)];
    }
}
