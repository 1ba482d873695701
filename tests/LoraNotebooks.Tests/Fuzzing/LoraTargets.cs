using LoraNotebooks.Adapters;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Adapters;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Fuzzing;

/// <summary>LoRA files and folders of every method and naming, read for a pipeline and by the tools that know no pipeline.</summary>
internal static class LoraTargets
{
    private const string FileName = "lora.safetensors";

    /// <summary>Tools document ArgumentException for what another kind of file has no place for.</summary>
    private static readonly Type[] OfTools = [typeof(InvalidDataException), typeof(FileNotFoundException), typeof(ArgumentException)];

    public static IReadOnlyList<FuzzTarget> All(TemporaryFolder root, TinyNetwork network)
    {
        var (plain, lycoris, sgm, diffusers, peft) = (root.In("plain"), root.In("lycoris"), root.In("sgm"), root.In("old"), root.In("dora"));
        var (pipeline, xl) = (TinyPipeline.Create(), TinyPipeline.CreateXL());
        Save(pipeline, new LoraConfig { Rank = 2, TargetModules = ["to_q", "conv1"] }, lora => lora.SaveKohya(Path.Combine(plain, FileName)));
        Save(pipeline, new LoraConfig { Rank = 2, TargetModules = ["to_q", "conv1"] }, lora => lora.SaveDiffusers(diffusers));
        Save(pipeline, new LoraConfig { Rank = 2, TargetModules = ["to_q", "conv1"], UseDora = true }, lora => lora.SavePeft(peft));
        Save(xl, new LoraConfig { Rank = 2, TargetModules = ["to_q", "conv1", "proj_in"] }, lora => lora.SaveKohya(Path.Combine(sgm, FileName)));
        SafetensorsFile.Write(Path.Combine(lycoris, FileName), Lycoris());
        var targets = new List<FuzzTarget>
        {
            new("kohya file on a pipeline", plain, FileName, TensorMutation.Any, folder => Attach(pipeline, Path.Combine(folder, FileName)), 4),
            new("lycoris file on a pipeline", lycoris, FileName, TensorMutation.Any, folder => Attach(pipeline, Path.Combine(folder, FileName)), 16),
            new("sgm file on a pipeline", sgm, FileName, TensorMutation.Any, folder => Attach(xl, Path.Combine(folder, FileName)), 5),
            new("diffusers file on a pipeline", diffusers, LoraFile.DiffusersName, TensorMutation.Any, folder => Attach(pipeline, folder), 4),
            new("config of a PEFT folder on a pipeline", peft, "unet/adapter_config.json", Mutation.Json, folder => Attach(pipeline, folder), 4),
            new("weights of a PEFT folder on a pipeline", peft, "unet/adapter_model.safetensors", TensorMutation.Any, folder => Attach(pipeline, folder), 4),
        };
        foreach (var (name, folder, file, share) in new[]
        {
            ("kohya", plain, FileName, 4),
            ("lycoris", lycoris, FileName, 10),
            ("sgm", sgm, FileName, 4),
            ("diffusers", diffusers, LoraFile.DiffusersName, 4),
            ("PEFT", peft, "unet/adapter_model.safetensors", 4),
            ("PEFT's config", peft, "unet/adapter_config.json", 4),
        })
        {
            var (mutate, lora) = (
                file.EndsWith(".json", StringComparison.Ordinal) ? Mutation.Json : (Func<Random, byte[], byte[]>)TensorMutation.Any,
                file == FileName ? FileName : "");
            targets.Add(new($"{name}, inspected", folder, file, mutate, path => LoraInspection.Of(Path.Combine(path, lora)), share));
            targets.Add(new($"{name}, converted", folder, file, mutate, path => Convert(Path.Combine(path, lora), toPeft: name != "lycoris"), 1)
            {
                Documented = OfTools,
            });
            if (name != "lycoris" && !name.StartsWith("PEFT", StringComparison.Ordinal))
            {
                targets.Add(
                    new($"{name}, resized and merged", folder, file, mutate, path => ResizeAndMerge(Path.Combine(path, lora)), 2) { Documented = OfTools });
            }
        }

        foreach (var (name, config) in new[]
        {
            ("LOHA", new LoraConfig { Method = AdapterMethod.Loha, Rank = 2, TargetModules = ["to_q", "conv"], UseEffectiveConv2d = true }),
            (
                "LOKR",
                new LoraConfig
                {
                    Method = AdapterMethod.Lokr with { DecomposeBoth = true },
                    Rank = 1,
                    TargetModules = ["to_q", "conv"],
                    UseEffectiveConv2d = true,
                }),
            ("DoRA", new LoraConfig { UseDora = true, Rank = 2, TargetModules = ["to_q", "conv", "token"] }),
        })
        {
            var folder = root.In(name);
            FuzzTarget.SaveAdapter(network, folder, config);
            targets.Add(new($"{name} config", folder, PeftFolder.ConfigName, Mutation.Json, path => FuzzTarget.ReadAdapter(network, path), 12));
            targets.Add(new($"{name} weights", folder, PeftFolder.WeightsName, TensorMutation.Any, path => FuzzTarget.ReadAdapter(network, path), 12));
        }

        return targets;
    }

    private static void Save(StableDiffusionPipeline pipeline, LoraConfig config, Action<StableDiffusionLora> save)
    {
        using var lora = StableDiffusionLora.Create(pipeline, "a", config, config with { TargetModules = ["q_proj"] }, 1);
        save(lora);
    }

    private static void Attach(StableDiffusionPipeline pipeline, string path) => StableDiffusionLora.Load(pipeline, path, "a").Dispose();

    /// <summary>PEFT has no words for all of LyCORIS, and diffusers' file has PEFT's.</summary>
    private static void Convert(string path, bool toPeft)
    {
        var folder = Directory.CreateTempSubdirectory("lora-notebooks-fuzz-").FullName;
        try
        {
            LoraConversion.Convert(path, Path.Combine(folder, "a.safetensors"), new LoraWriting());
            if (toPeft)
            {
                LoraConversion.Convert(path, Path.Combine(folder, "b"), new LoraWriting { Kind = LoraFileKind.Diffusers, DType = ScalarType.Float16 });
                LoraConversion.Convert(path, Path.Combine(folder, "c"), new LoraWriting { Kind = LoraFileKind.Peft });
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void ResizeAndMerge(string path)
    {
        var folder = Directory.CreateTempSubdirectory("lora-notebooks-fuzz-").FullName;
        try
        {
            LoraResizing.Resize(path, Path.Combine(folder, "a.safetensors"), new RankChoice { Rank = 1, Rule = RankRule.Frobenius, Target = 0.9 });
            LoraMerging.Merge([(path, 0.5), (path, 1)], Path.Combine(folder, "b.safetensors"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Every method and layout of LyCORIS in one file, as its names are in the wild.</summary>
    private static Dictionary<string, Tensor> Lycoris()
    {
        const string attention = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_";
        const string resnet = "lora_unet_down_blocks_0_resnets_0_";
        const string text = "lora_te_text_model_encoder_layers_0_";
        return new()
        {
            [$"{attention}to_q.hada_w1_a"] = rand(8, 2),
            [$"{attention}to_q.hada_w1_b"] = rand(2, 8),
            [$"{attention}to_q.hada_w2_a"] = rand(8, 2),
            [$"{attention}to_q.hada_w2_b"] = rand(2, 8),
            [$"{attention}to_q.alpha"] = tensor(1.0f),
            [$"{attention}to_k.lokr_w1"] = rand(2, 2),
            [$"{attention}to_k.lokr_w2_a"] = rand(4, 1),
            [$"{attention}to_k.lokr_w2_b"] = rand(1, 4),
            [$"{attention}to_k.alpha"] = tensor(1.0f),
            [$"{attention}to_v.lokr_w1_a"] = rand(2, 1),
            [$"{attention}to_v.lokr_w1_b"] = rand(1, 2),
            [$"{attention}to_v.lokr_w2"] = rand(4, 4),
            [$"{attention}to_v.alpha"] = tensor(1.0f),
            [$"{attention}to_out_0.lokr_w1"] = rand(2, 4),
            [$"{attention}to_out_0.lokr_w2"] = rand(4, 2),
            [$"{attention}to_out_0.alpha"] = tensor(4.0f),
            [$"{resnet}conv1.lora_down.weight"] = rand(2, 8, 1, 1),
            [$"{resnet}conv1.lora_mid.weight"] = rand(2, 2, 3, 3),
            [$"{resnet}conv1.lora_up.weight"] = rand(8, 2, 1, 1),
            [$"{resnet}conv1.alpha"] = tensor(2.0f),
            [$"{resnet}conv2.hada_t1"] = rand(2, 2, 3, 3),
            [$"{resnet}conv2.hada_w1_a"] = rand(2, 8),
            [$"{resnet}conv2.hada_w1_b"] = rand(2, 8),
            [$"{resnet}conv2.hada_t2"] = rand(2, 2, 3, 3),
            [$"{resnet}conv2.hada_w2_a"] = rand(2, 8),
            [$"{resnet}conv2.hada_w2_b"] = rand(2, 8),
            [$"{resnet}time_emb_proj.lora_down.weight"] = rand(2, 32),
            [$"{resnet}time_emb_proj.lora_up.weight"] = rand(8, 2),
            [$"{resnet}time_emb_proj.dora_scale"] = rand(8, 1),
            [$"{resnet}time_emb_proj.alpha"] = tensor(2.0f),
            [$"{text}mlp_fc1.lora_down.weight"] = rand(2, 6),
            [$"{text}mlp_fc1.lora_up.weight"] = rand(12, 2),
            [$"{text}mlp_fc1.alpha"] = tensor(1.0f, ScalarType.BFloat16),
        };
    }
}
