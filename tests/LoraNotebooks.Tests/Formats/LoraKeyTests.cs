using LoraNotebooks.Formats;

namespace LoraNotebooks.Tests.Formats;

/// <summary>Names of LoRA files in every dialect, taken apart and looked up.</summary>
public sealed class LoraKeyTests
{
    private static readonly LoraPart UNet = new("unet", "lora_unet",
    [
        "conv_in",
        "down_blocks.0.attentions.0.proj_in",
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0",
        "down_blocks.0.resnets.0.conv1",
        "down_blocks.0.resnets.1.conv1",
        "mid_block.resnets.0.conv1",
    ]);

    private static readonly LoraPart Text = new(
        "text_encoder",
        "lora_te",
        ["text_model.encoder.layers.0.self_attn.q_proj", "text_model.encoder.layers.0.mlp.fc1", "text_model.final_layer_norm"]);

    private static readonly LoraPart Text2 = new(
        "text_encoder_2",
        "lora_te2",
        ["text_model.encoder.layers.0.self_attn.q_proj", "text_model.encoder.layers.1.self_attn.q_proj"]);

    /// <summary>How names begin, the network that this tells, and what is left.</summary>
    [Theory]
    [InlineData("lora_unet_a_b", "unet", "a_b")]
    [InlineData("lora_unet.a.b", "unet", "a.b")]
    [InlineData("lora_te1_a_b", "text_encoder", "a_b")]
    [InlineData("lora_te2_a_b", "text_encoder_2", "a_b")]
    [InlineData("lora_te3_a_b", "text_encoder_3", "a_b")]
    [InlineData("lora_te_a_b", "text_encoder", "a_b")]
    [InlineData("lora_prior_unet_a_b", "prior_unet", "a_b")]
    [InlineData("lora_transformer_a_b", "transformer", "a_b")]
    [InlineData("lycoris_a_b", null, "a_b")]
    [InlineData("unet.a.b", "unet", "a.b")]
    [InlineData("text_encoder.a.b", "text_encoder", "a.b")]
    [InlineData("text_encoder_2.a.b", "text_encoder_2", "a.b")]
    [InlineData("text_encoder_3.a.b", "text_encoder_3", "a.b")]
    [InlineData("transformer.a.b", "transformer", "a.b")]
    [InlineData("model.diffusion_model.a.b", "unet", "a.b")]
    [InlineData("diffusion_model.a.b", "unet", "a.b")]
    [InlineData("text_encoders.clip_l.transformer.a.b", "text_encoder", "a.b")]
    [InlineData("text_encoders.clip_g.transformer.a.b", "text_encoder_2", "a.b")]
    [InlineData("text_encoders.clip_l.a.b", "text_encoder", "a.b")]
    [InlineData("text_encoders.clip_g.a.b", "text_encoder_2", "a.b")]
    [InlineData("clip_l.a.b", "text_encoder", "a.b")]
    [InlineData("clip_g.a.b", "text_encoder_2", "a.b")]
    [InlineData("cond_stage_model.transformer.a.b", "text_encoder", "a.b")]
    [InlineData("cond_stage_model.model.a.b", "text_encoder", "a.b")]
    [InlineData("conditioner.embedders.0.transformer.a.b", "text_encoder", "a.b")]
    [InlineData("conditioner.embedders.1.model.a.b", "text_encoder_2", "a.b")]
    [InlineData("unet_a_b", null, "unet_a_b")]
    [InlineData("transformer_a_b", null, "transformer_a_b")]
    [InlineData("lora_unetx", null, "lora_unetx")]
    [InlineData("lora_unet_", null, "lora_unet_")]
    [InlineData("unet.a", "unet", "a")]
    [InlineData("a.b", null, "a.b")]
    public void Parse_OfABeginning_TellsTheNetwork(string stem, string? network, string module)
    {
        var key = LoraKey.Parse($"{stem}.lora_down.weight", []);

        Assert.Equal((network, module, false, "lora_A.weight"), (key.Network, key.Module, key.IsWrapped, key.Part));
        Assert.Equal(stem.StartsWith("lora_", StringComparison.Ordinal) || stem.StartsWith("lycoris_", StringComparison.Ordinal), key.IsOfKohya);
        Assert.Equal(module.Contains('.'), key.IsDotted);
    }

    [Fact]
    public void Parse_WithPeftsWrapper_KeepsThePathAndTellsNoNetwork()
    {
        var key = LoraKey.Parse("base_model.model.unet.a.lora_A.weight", []);

        Assert.Equal((null, "unet.a", true, "lora_A.weight"), (key.Network, key.Module, key.IsWrapped, key.Part));
    }

    /// <summary>A model's own names count before those that are known, its prefixes before the networks' names.</summary>
    [Fact]
    public void Parse_ForAModelOfItsOwnNames_TellsItsNetworks()
    {
        LoraPart[] own = [new("vision", "lora_te", ["a"]), new("speech", "lora_speech", ["a"])];

        Assert.Equal(("vision", "a_b"), Of("lora_te_a_b"));
        Assert.Equal(("speech", "a"), Of("lora_speech.a"));
        Assert.Equal(("speech", "a.b"), Of("speech.a.b"));
        Assert.Equal((null, "speech_a"), Of("speech_a"));
        Assert.Equal(("unet", "a"), Of("lora_unet_a"));

        (string?, string) Of(string stem) => LoraKey.Parse($"{stem}.alpha", own) is var key ? (key.Network, key.Module) : default;
    }

    /// <summary>How names end, and what that is of an update; nothing for what is no part of one.</summary>
    [Theory]
    [InlineData(".lora_A.weight", "lora_A.weight")]
    [InlineData(".lora_A", "lora_A.weight")]
    [InlineData(".lora_A.default.weight", "lora_A.weight")]
    [InlineData(".lora_A.default", "lora_A.weight")]
    [InlineData(".lora_A.bias", null)]
    [InlineData(".lora_B.weight", "lora_B.weight")]
    [InlineData(".lora_B", "lora_B.weight")]
    [InlineData(".lora_B.bias", "lora_B.bias")]
    [InlineData(".lora_B.default.bias", "lora_B.bias")]
    [InlineData(".lora_down.weight", "lora_A.weight")]
    [InlineData(".lora_up.weight", "lora_B.weight")]
    [InlineData(".lora_up.bias", "lora_B.bias")]
    [InlineData(".lora_mid.weight", "lora_mid.weight")]
    [InlineData(".lora_embedding_A", "lora_embedding_A")]
    [InlineData(".lora_embedding_B.default", "lora_embedding_B")]
    [InlineData(".lora_magnitude_vector.default.weight", "lora_magnitude_vector")]
    [InlineData(".lora_magnitude_vector", "lora_magnitude_vector")]
    [InlineData(".hada_w1_a", "hada_w1_a")]
    [InlineData(".hada_w2_b.default", "hada_w2_b")]
    [InlineData(".hada_t2", "hada_t2")]
    [InlineData(".lokr_w1", "lokr_w1")]
    [InlineData(".lokr_w2_b", "lokr_w2_b")]
    [InlineData(".lokr_t2", "lokr_t2")]
    [InlineData(".dora_scale", "dora_scale")]
    [InlineData(".alpha", "alpha")]
    [InlineData(".lora.down.weight", "lora_A.weight")]
    [InlineData(".lora.up.weight", "lora_B.weight")]
    [InlineData(".lora_linear_layer.down.weight", "lora_A.weight")]
    [InlineData("_lora.up.weight", "lora_B.weight")]
    [InlineData("_lora.down.weight", "lora_A.weight")]
    [InlineData(".weight", null)]
    [InlineData(".bias", null)]
    [InlineData(".lora_C.weight", null)]
    [InlineData(".lora_A.two.names.weight", null)]
    public void Parse_OfAnEnding_TellsThePart(string ending, string? part)
    {
        var key = LoraKey.Parse($"unet.a.b{ending}", []);

        Assert.Equal(part, key.Part);
        Assert.Equal(part is not null, key.IsOfLora);
        Assert.Equal(part is null && ending != ".lora_A.bias" ? $"a.b{ending}" : "a.b", key.Module);
    }

    [Theory]
    [InlineData("lora_unet_a.anything", true)]
    [InlineData("lycoris_a.anything", true)]
    [InlineData("unet.a.anything", false)]
    public void IsOfLora_OfKohyasBeginning_HoldsWhateverTheEnd(string text, bool expected) => Assert.Equal(expected, LoraKey.Parse(text, []).IsOfLora);

    [Theory]
    [InlineData("a.lora_down.weight", "a.lora_up.weight")]
    [InlineData("a.lora_up.weight", "a.lora_down.weight")]
    [InlineData("a.lora.down.weight", "a.lora.up.weight")]
    [InlineData("a.lora.up.weight", "a.lora.down.weight")]
    [InlineData("a.lora_A.default.weight", "a.lora_B.default.weight")]
    [InlineData("a.lora_B", "a.lora_A")]
    [InlineData("a.lora_embedding_A", "a.lora_embedding_B")]
    [InlineData("a.lora_embedding_B", "a.lora_embedding_A")]
    [InlineData("a.hada_w1_a", "a.hada_w1_b")]
    [InlineData("a.hada_w2_b", "a.hada_w2_a")]
    [InlineData("a.lokr_w1_a", "a.lokr_w1_b")]
    [InlineData("a.lokr_w2_b", "a.lokr_w2_a")]
    [InlineData("lora_down.a.lora_up.weight", "lora_down.a.lora_down.weight")]
    [InlineData("a.lora_B.bias", null)]
    [InlineData("a.lora_mid.weight", null)]
    [InlineData("a.lokr_w1", null)]
    [InlineData("a.alpha", null)]
    [InlineData("a.dora_scale", null)]
    public void Counterpart_OfAFactor_IsTheOther(string text, string? expected) => Assert.Equal(expected, LoraKey.Parse(text, []).Counterpart());

    [Theory]
    [InlineData("bundle_emb.x.clip_l", "an embedding that OneTrainer bundled with the LoRA is no part of it; use it as a textual inversion elsewhere")]
    [InlineData(
        "a.diff",
        "whole differences of weights and biases (diff, diff_b, set_weight) are not supported; merge them into the base with the tool that made them")]
    [InlineData(
        "a.diff_b",
        "whole differences of weights and biases (diff, diff_b, set_weight) are not supported; merge them into the base with the tool that made them")]
    [InlineData(
        "a.set_weight",
        "whole differences of weights and biases (diff, diff_b, set_weight) are not supported; merge them into the base with the tool that made them")]
    [InlineData(
        "a.reshape_weight",
        "whole differences of weights and biases (diff, diff_b, set_weight) are not supported; merge them into the base with the tool that made them")]
    [InlineData("a.w_norm", "trained norms (w_norm, b_norm) are not supported; merge them into the base with the tool that made them")]
    [InlineData("a.b_norm", "trained norms (w_norm, b_norm) are not supported; merge them into the base with the tool that made them")]
    [InlineData("a.oft_blocks", "orthogonal finetuning (OFT, BOFT) is not supported; merge it into the base with the tool that made it")]
    [InlineData("a.oft_R.default.weight", "orthogonal finetuning (OFT, BOFT) is not supported; merge it into the base with the tool that made it")]
    [InlineData("a.boft_s", "orthogonal finetuning (OFT, BOFT) is not supported; merge it into the base with the tool that made it")]
    [InlineData("a.rescale", "orthogonal finetuning (OFT, BOFT) is not supported; merge it into the base with the tool that made it")]
    [InlineData("oft_unet_a.x", "orthogonal finetuning (OFT, BOFT) is not supported; merge it into the base with the tool that made it")]
    [InlineData("a.bm1.weight", "GLoRA is not supported; merge it into the base with the tool that made it")]
    [InlineData("a.b2", "GLoRA is not supported; merge it into the base with the tool that made it")]
    [InlineData("a.on_input", "(IA)³ is not supported; merge it into the base with the tool that made it")]
    [InlineData("a.ia3_l.default", "(IA)³ is not supported; merge it into the base with the tool that made it")]
    [InlineData("a.weight", null)]
    [InlineData("x.bundle_emb.a", null)]
    [InlineData("a.diff.b", null)]
    public void WhyUnsupported_OfAName_IsItsReasonWithTheRemedy(string text, string? reason) => Assert.Equal(reason, LoraKey.WhyUnsupported(text));

    /// <summary>Names that are looked up in a model: by kohya's and the original code's forms, and by every library's names of CLIP.</summary>
    [Theory]
    [InlineData("lora_unet_conv_in", "unet/conv_in")]
    [InlineData("lora_unet_input_blocks_0_0", "unet/conv_in")]
    [InlineData("lora_unet_input_blocks_1_0_in_layers_2", "unet/down_blocks.0.resnets.0.conv1")]
    [InlineData("unet.input_blocks.1.1.proj_in", "unet/down_blocks.0.attentions.0.proj_in")]
    [InlineData("unet.down_blocks.0.attentions.0.proj_in", "unet/down_blocks.0.attentions.0.proj_in")]
    [InlineData(
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out",
        "unet/down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0")]
    [InlineData(
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0",
        "unet/down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0")]
    [InlineData("lycoris_down_blocks_0_resnets_1_conv1", "unet/down_blocks.0.resnets.1.conv1")]
    [InlineData("lora_te_text_model_encoder_layers_0_self_attn_q_proj", "text_encoder/text_model.encoder.layers.0.self_attn.q_proj")]
    [InlineData("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", "text_encoder_2/text_model.encoder.layers.0.self_attn.q_proj")]
    [InlineData("clip_g.text_model.encoder.layers.1.self_attn.q_proj", "text_encoder_2/text_model.encoder.layers.1.self_attn.q_proj")]
    [InlineData("text_encoder.encoder.layers.0.mlp.c_fc", "text_encoder/text_model.encoder.layers.0.mlp.fc1")]
    [InlineData("text_encoder.transformer.text_model.encoder.layers.0.self_attn.to_q", "text_encoder/text_model.encoder.layers.0.self_attn.q_proj")]
    [InlineData("cond_stage_model.model.transformer.resblocks.0.mlp.c_fc", "text_encoder/text_model.encoder.layers.0.mlp.fc1")]
    [InlineData("text_encoder.final_layer_norm", "text_encoder/text_model.final_layer_norm")]
    [InlineData("lycoris_text_model_encoder_layers_1_self_attn_q_proj", "text_encoder_2/text_model.encoder.layers.1.self_attn.q_proj")]
    [InlineData(
        "lycoris_text_model_encoder_layers_0_self_attn_q_proj",
        "text_encoder/text_model.encoder.layers.0.self_attn.q_proj",
        "text_encoder_2/text_model.encoder.layers.0.self_attn.q_proj")]
    [InlineData("lora_te2_text_model_final_layer_norm")]
    [InlineData("lora_unet_text_model_final_layer_norm")]
    [InlineData("unet.mid_block.resnets.0.conv2")]
    public void Find_InAModel_GivesEveryModuleThatANameMayMean(string stem, params string[] expected)
    {
        LoraPart[] parts = [UNet, Text, Text2];

        var found = new LoraModules(parts).Find(LoraKey.Parse($"{stem}.lora_down.weight", parts));

        Assert.Equal(expected, found.Select(static module => $"{module.Network}/{module.Path}"));
    }

    /// <summary>Names that are looked up nowhere: their words alone tell.</summary>
    [Theory]
    [InlineData(
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0",
        "unet",
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0")]
    [InlineData("lora_unet_input_blocks_4_1_proj_in", "unet", "down_blocks.1.attentions.0.proj_in")]
    [InlineData("unet.mid_block.attentions.0.processor.to_out", "unet", "mid_block.attentions.0.to_out.0")]
    [InlineData("lora_te1_text_model_encoder_layers_3_mlp_fc2", "text_encoder", "text_model.encoder.layers.3.mlp.fc2")]
    [InlineData("lora_te2_transformer_resblocks_3_mlp_c_proj", "text_encoder_2", "text_model.encoder.layers.3.mlp.fc2")]
    [InlineData("lora_te3_encoder_block_0", "text_encoder_3", "encoder.block.0")]
    [InlineData("text_encoder.encoder.layers.3.self_attn.to_k", "text_encoder", "text_model.encoder.layers.3.self_attn.k_proj")]
    [InlineData("text_encoder.encoder.layers.3.self_attn.to_v", "text_encoder", "text_model.encoder.layers.3.self_attn.v_proj")]
    [InlineData("text_encoder.encoder.layers.3.self_attn.to_out.0", "text_encoder", "text_model.encoder.layers.3.self_attn.out_proj")]
    [InlineData("text_encoder.model.transformer.resblocks.3.attn.out_proj", "text_encoder", "text_model.encoder.layers.3.self_attn.out_proj")]
    [InlineData("text_encoder.embeddings.token_embedding", "text_encoder", "text_model.embeddings.token_embedding")]
    [InlineData("lycoris_mid_block_resnets_0_conv1", "unet", "mid_block.resnets.0.conv1")]
    [InlineData("lycoris_conv_in", "unet", "conv_in")]
    [InlineData("lycoris_text_model_encoder_layers_0_mlp_fc1", "text_encoder", "text_model.encoder.layers.0.mlp.fc1")]
    [InlineData("lycoris_something_else", "unet", "something.else")]
    [InlineData("base_model.model.layers.0.q", "model", "layers.0.q")]
    [InlineData("base_model.model.q", "model", "q")]
    [InlineData("layers.0.q", "model", "layers.0.q")]
    [InlineData("text_projection", "text_encoder", "text_projection")]
    [InlineData("transformer.blocks.0.q", "transformer", "blocks.0.q")]
    [InlineData("q", null, "")]
    public void Find_WithoutAModel_IsToldByTheName(string stem, string? network, string path)
    {
        var found = new LoraModules([]).Find(LoraKey.Parse($"{stem}.lora_down.weight", []));

        Assert.Equal(network is null ? [] : [(network, path)], found);
    }

    [Theory]
    [InlineData("lora_te2_a", "the model has no text_encoder_2")]
    [InlineData("lora_unet_a", "the model has no such module")]
    [InlineData("lycoris_a", "the model has no such module")]
    public void WhyUnknown_InAModel_SaysWhatIsLacking(string stem, string expected)
    {
        var key = LoraKey.Parse($"{stem}.lora_down.weight", []);

        Assert.Equal(expected, new LoraModules([UNet, Text]).WhyUnknown(key));
        Assert.Equal("the name is not understood", new LoraModules([]).WhyUnknown(key));
    }

    [Fact]
    public void Parts_OfKnownNames_HaveKohyasPrefixes()
    {
        string[] names = ["unet", "text_encoder", "text_encoder_2", "text_encoder_3", "model"];

        Assert.Equal(
            [
                ("unet", "lora_unet", false),
                ("text_encoder", "lora_te", false),
                ("text_encoder_2", "lora_te2", false),
                ("text_encoder_3", "lora_te3", false),
                ("model", "lora_model", false)
            ],
            LoraParts.For(names, isSdxl: false, static _ => []).Select(static part => (part.Name, part.KohyaPrefix, part.HasSgmNames)));
        Assert.Equal(
            [
                ("unet", "lora_unet", true),
                ("text_encoder", "lora_te1", false),
                ("text_encoder_2", "lora_te2", false),
                ("text_encoder_3", "lora_te3", false),
                ("model", "lora_model", false)
            ],
            LoraParts.For(names, isSdxl: true, static _ => []).Select(static part => (part.Name, part.KohyaPrefix, part.HasSgmNames)));
        Assert.All(LoraParts.For(names, isSdxl: true, static name => [name + ".a"]), static part => Assert.Equal([part.Name + ".a"], part.ModulePaths));
    }
}
